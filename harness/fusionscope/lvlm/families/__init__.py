"""One module per family of models, each ending in ``FAMILY = Family(...)``; `fusionscope.lvlm.register` finds them."""
