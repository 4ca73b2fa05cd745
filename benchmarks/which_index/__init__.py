"""What the indexes say of layers about which the answer is known: the measurements behind docs/which_index.md.

    python -m benchmarks.which_index                 # some minutes; results/which_index.json, and the page's tables
    python -m benchmarks.which_index synthetic       # one part
    python -m benchmarks.which_index --draw          # the tables alone, from what is stored

Parts: `finding` (which layer of another network is the same one?), `synthetic` (layers that are the same, or unrelated, by
construction), `components` (what is left of a layer without its small principal components), `neurons` (some units of each),
`drift` (a layer and itself with a little noise), `optimised` (activations made to score high), `distances` (the triangle
inequality), `cost`.
"""
