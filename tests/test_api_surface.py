import neuralrank


def test_the_public_names_are_these():
    assert neuralrank.__all__ == [
        "Catalogue",
        "Failure",
        "FoundModel",
        "Limits",
        "ModelEntry",
        "RankedModel",
        "Ranking",
        "Score",
        "SearchResult",
        "Target",
        "index",
        "open_catalogue",
        "rank",
        "read_target",
        "score",
        "score_many",
        "search",
    ]


def test_every_public_name_can_be_had_and_is_documented():
    for name in neuralrank.__all__:
        assert getattr(neuralrank, name).__doc__
