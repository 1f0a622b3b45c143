"""PMC-VQA in both versions, with what is wrong in them."""

import pytest

from fusionscope.errors import DataError
from fusionscope.tasks import pmc_vqa

PMC = {"Figure_path": "f.jpg", "Question": "Which organ? ", "Answer": " A:Uterus "} | {
    f"Choice {letter}": f" {letter}:{text} "
    for letter, text in zip("ABCD", ("Uterus", "Lung", "Liver", "Aorta"), strict=True)
}
MARKED = {"Figure_path": "f.png", "Question": "Which?", "Answer": "A. fumigatus", "Answer_label": "B"}
MARKED |= {
    f"Choice {letter}": f" {letter}:{text} "
    for letter, text in zip("ABCD", ("Uterus", "A. fumigatus", "None", "Aorta"), strict=True)
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Answer_label": "A"},
        {"Answer": "uterus", "index": 3, "Caption": "c", "split": "test"},
        {"Answer": "A", "Choice A": "Uterus", "Choice B": "Lung"},
    ],
)
def test_pmc_vqa_in_both_versions(tmp_path, changes, table, paint):
    paint(tmp_path, "f.jpg")
    path = table(tmp_path / "t.csv", [PMC | changes, {**PMC, **changes, "Choice D": " "}])
    task = pmc_vqa.load(path=path, image_folder=str(tmp_path))
    assert task.pair_answers.tolist() == [0]
    assert task.questions[0].text == (
        "Which organ?\nA. Uterus\nB. Lung\nC. Liver\nD. Aorta\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert task.questions[0].blanked is not None
    assert "Which" not in task.questions[0].blanked
    assert task.dropped == {"an option is empty": 1}
    assert not task.crossable


def test_pmc_vqa_says_what_is_wrong(tmp_path, table, paint):
    paint(tmp_path, "f.jpg")
    with pytest.raises(DataError, match=r"t\.csv row 3 column 'Answer': 'Spleen'"):
        pmc_vqa.load(path=table(tmp_path / "t.csv", [PMC, PMC | {"Answer": "Spleen"}]), image_folder=str(tmp_path))
    rest = {key: value for key, value in PMC.items() if key not in ("Choice C", "Figure_path")}
    with pytest.raises(DataError, match="has no column 'Figure_path', 'Choice C'"):
        pmc_vqa.load(path=table(tmp_path / "t.csv", [rest]), image_folder=str(tmp_path))


def test_pmc_vqa_keeps_names_that_look_like_letters_and_counts_few_wrong_answers(tmp_path, table, png):
    (tmp_path / "f.png").write_bytes(png(1))
    shown = "Which?\nA. Uterus\nB. A. fumigatus\nC. None\nD. Aorta"
    unmarked = MARKED | {f"Choice {letter}": MARKED[f"Choice {letter}"].strip()[2:] for letter in "ABCD"}
    misspelt = {key.replace("Answer", "Anwser"): value for key, value in MARKED.items()}
    for row in (MARKED, unmarked, misspelt, MARKED | {"Answer_label": ""}, MARKED | {"Choice C": "'C:None'"}):
        task = pmc_vqa.load(path=table(tmp_path / "t.csv", [row]), image_folder=str(tmp_path))
        assert task.questions[0].text.startswith(shown)
        assert task.pair_answers.tolist() == [1]
    many = [MARKED | {"Question": str(i)} for i in range(150)]
    many[9] |= {"Answer": "Spleen", "Answer_label": ""}
    task = pmc_vqa.load(path=table(tmp_path / "t.csv", many), image_folder=str(tmp_path))
    assert task.dropped == {"the answer is none of the options": 1}
    many[0] |= many[9]
    with pytest.raises(DataError, match=r"row 2 column 'Answer': 'Spleen'"):
        pmc_vqa.load(path=table(tmp_path / "t.csv", many), image_folder=str(tmp_path))


def test_answers_that_contradict_or_may_be_two_are_refused(tmp_path, table, paint):
    paint(tmp_path, "f.jpg")

    def load(**changes):
        return pmc_vqa.load(path=table(tmp_path / "t.csv", [{**PMC, **changes}]), image_folder=str(tmp_path))

    assert load(Answer="Lung", Answer_label="B").pair_answers.tolist() == [1]
    assert load(Answer="B", Answer_label="B").pair_answers.tolist() == [1]
    assert load(Answer="a lung, seen from below", Answer_label="B").pair_answers.tolist() == [1]
    with pytest.raises(DataError, match=r"row 2 column 'Answer': ' A:Uterus '(?s:.*)contradicts Answer_label 'B'"):
        load(Answer_label="B")
    letters = {f"Choice {letter}": text for letter, text in zip("ABCD", "BADE", strict=True)}
    with pytest.raises(DataError, match=r"column 'Answer': 'A'(?s:.*)may be A or B"):
        load(**letters, Answer="A")
    assert load(**letters, Answer="A", Answer_label="A").pair_answers.tolist() == [0]


def test_more_than_four_options_are_counted_and_not_cut(tmp_path, table, paint):
    paint(tmp_path, "f.jpg")
    rows = [{**PMC, "Choice E": ""}, {**PMC, "Question": "Other?", "Choice E": " E:Heart "}]
    task = pmc_vqa.load(path=table(tmp_path / "t.csv", rows), image_folder=str(tmp_path))
    assert (len(task.pairs), task.dropped) == (1, {"more than four options": 1})
