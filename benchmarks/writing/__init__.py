"""What the benchmarks share whose models write a sequence: translate and caption.

config.py       the settings of a run
experiment.py   a model trained on pairs, what it writes, and how good that is
scores.py       exact matches, error rate, BLEU
records.py      from epochs to records, and the tables
figures.py      the loss against the epoch, the flow of gradients
command.py      what train and evaluate do
"""
