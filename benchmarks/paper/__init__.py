"""The experiments of Kornblith et al. 2019, one module per table or figure; ``python -m benchmarks.paper --help``.

data.py         digits (default), CIFAR-10 and CIFAR-100 from a local folder, sequences for the Transformer
networks.py     the architectures of appendix E, and the Transformer encoder of appendix F.1
train.py        one network from one recipe
cache.py        what was computed once is read from then on
study.py        networks, their layers and all similarities between them, through the cache
drawing.py      heatmaps and tables
table2.py ...   the experiments: each has ``run(study) -> Report``
"""
