"""Combine several scores of a pool of models into one order, one file each; higher is better.

A combination is a plain function of an array (…, n_models, n_scores), NaN where a model has no such score, that returns
(…, n_models). It sees nothing but the order of the models by each score: raw values have other units.
"""
