"""Words in another order, and nothing else."""

from fusionscope.tasks import Question
from fusionscope.tasks.transforms import shuffle_words


def test_shuffled_words_keep_the_options(make_task):
    question = Question(text="what colour is the circle A red B blue", candidates=("A", "B"), blanked="A red B blue")
    task = make_task(n_questions=1, candidates=("A", "B"), questions=[question])
    text = shuffle_words(task).questions[0].text
    assert text.endswith(" A red B blue")
    assert sorted(text.split()) == sorted(question.text.split())
    assert text != question.text
    assert shuffle_words(task).fingerprint == shuffle_words(task).fingerprint != task.fingerprint
    assert shuffle_words(task, seed=1).questions != shuffle_words(task).questions
