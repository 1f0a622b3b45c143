#!/usr/bin/env bash
# From nothing to the figures: set up, train the sandbox model through its three stages while PID is measured, draw.
# About 10 minutes on two idle cores once installed.
# Safe to run again: what is installed stays, a run that was stopped goes on, a finished one is drawn again.
#   bash tools/demo.sh            PYTHON=python3.12 bash tools/demo.sh            RUN_DIR=runs/other bash tools/demo.sh
EXTRAS="easy-vqa"
source "$(dirname "$0")/environment.sh"
RUN_DIR="${RUN_DIR:-runs/sandbox}"
# The model is tiny: one thread is nearly as fast as two, and is not slowed down many times over by other work, as
# threads that wait for each other are.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

say "Training a small LLaVA through three stages, probing it all the way: $RUN_DIR"
begin=$SECONDS
fusionscope run recipes/sandbox --run-dir "$RUN_DIR"
say "The paper's masked design beside the default, against the exhaustive truth"
python tools/design_error.py "$RUN_DIR"
say "Done in $((SECONDS - begin)) s"
echo "Look at $RUN_DIR/report.html, then:  $VENV/bin/tensorboard --logdir $RUN_DIR   (Time Series, Custom Scalars, Images)"
echo "Your own:  $VENV/bin/fusionscope recipes copy sandbox my-recipe; change it; $VENV/bin/fusionscope run my-recipe"
