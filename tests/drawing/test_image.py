"""Figures: every pixel of a small picture is a pair, a large one is made of tiles, and files are what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import attnmask as am
from attnmask.drawing import figure_from_plan, save_image
from attnmask.drawing.figure import ALL, NONE, SOME
from attnmask.errors import ArgumentError, AttnMaskError

pytest.importorskip("matplotlib")


def rgb(colour: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)


def colours_at_cells(plan: am.Plan) -> NDArray[np.int64]:
    """The colour in the middle of every pair of a rendered figure: 0 none, 1 some, 2 all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figure_from_plan(plan)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    rows, keys = np.mgrid[0 : plan.Q, 0 : plan.K]
    x, y = figure.axes[0].transData.transform(np.stack([keys.ravel(), rows.ravel()], axis=1)).T.astype(int)
    seen = pixels[pixels.shape[0] - 1 - y, x]
    known = np.stack([rgb(NONE), rgb(SOME), rgb(ALL)])
    match = (seen[:, None] == known).all(axis=-1)
    assert match.any(axis=1).all(), "a colour that no state has"
    return match.argmax(axis=1).reshape(plan.Q, plan.K)


@pytest.mark.parametrize(
    "plan",
    [
        am.compile(am.causal() & am.window(left=3, right=0) | am.prefix(2), q=12),
        am.compile(am.documents(ids=[0, 1, 0, -1, 1]), q=5),
        am.compile(am.causal(), q=3, k=20, align="end"),
        am.compile(am.causal(), q=20, k=3, align="end"),
        am.compile(am.window(left=9, right=9) & am.causal(), q=100),
    ],
    ids=["square", "holes", "wide", "tall", "without a grid"],
)
def test_every_pair_has_its_colour(plan: am.Plan) -> None:
    np.testing.assert_array_equal(colours_at_cells(plan), 2 * plan.runs.to_dense()[0, 0])


def shown(plan: am.Plan) -> NDArray[np.int8]:
    return np.asarray(figure_from_plan(plan).axes[0].images[0].get_array())


def test_what_does_not_fit_is_drawn_as_tiles() -> None:
    plan = am.compile(am.causal() & am.window(left=99, right=0), q=600)
    np.testing.assert_array_equal(shown(plan), plan.tiles(2, 2).states()[0, 0])
    assert set(shown(plan).ravel()) == {0, 1, 2}


def test_a_million_tokens_are_drawn() -> None:
    plan = am.compile(am.causal(), q=1 << 20)
    assert shown(plan).shape == (512, 512)
    assert texts(plan)[-1] == (
        "549,756,338,176 of 1,099,511,627,776 pairs attend (50%)\na cell is a tile of 2,048 x 2,048 (queries x keys)"
    )


def texts(plan: am.Plan) -> list[str]:
    """Title, axis labels and caption of the first panel."""
    figure = figure_from_plan(plan)
    axes = figure.axes[0]
    return [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), figure.legends[0].get_title().get_text()]


def test_a_picture_says_what_it_shows() -> None:
    plan = am.compile(am.causal(), q=2, k=5, align="end")
    assert texts(plan) == [
        "causal()",
        "key",
        "query",
        "9 of 10 pairs attend (90%)\nquery 0 stands at position 3",
    ]


def test_a_title_that_does_not_fit_is_cut() -> None:
    title = texts(am.compile(am.prefix(1) & am.padding(lengths=2) & am.documents(ids=[0] * 40), q=2))[0]
    assert title == "prefix(lengths=[1]) & padding(lengths=[2]) & documents(leng…"


def test_items_are_small_pictures_and_the_rest_is_counted() -> None:
    figure = figure_from_plan(am.compile(am.prefix(range(15)), q=16))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == [f"batch {n}" for n in range(12)]
    assert figure.axes[3].get_title() == "batch 3\n48 of 256 pairs attend (18.75%)"
    assert (
        figure.legends[0].get_title().get_text()
        == "3 more of 15 are not shown; in Python, choose with batch= and head="
    )


def test_one_item_can_be_chosen() -> None:
    figure = figure_from_plan(am.compile(am.prefix([1, 2, 3]), q=3), batch=1)
    assert len(figure.axes) == 1
    assert np.asarray(figure.axes[0].images[0].get_array()).tolist() == [[2, 2, 0]] * 3


@pytest.mark.parametrize(("q", "k"), [(0, 4), (4, 0), (0, 0)])
def test_a_plan_without_pairs_is_an_empty_picture(q: int, k: int, tmp_path: Path) -> None:
    save_image(am.compile(am.full(), q=q, k=k, offset=0), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0


@pytest.mark.parametrize(("suffix", "begin"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
def test_the_kind_of_file_is_what_its_name_says(suffix: str, begin: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"mask{suffix}"
    save_image(am.compile(am.causal(), q=4), path)
    assert path.read_bytes().startswith(begin)


def test_other_kinds_of_file_are_refused() -> None:
    with pytest.raises(ArgumentError) as error:
        save_image(am.compile(am.causal(), q=4), "mask.gif")
    assert str(error.value) == (
        ".gif is not a kind of picture that can be written\n  where: mask.gif\n  to do: name it .png, .svg, .pdf"
    )


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "mask.png"
    with pytest.raises(ArgumentError) as error:
        save_image(am.compile(am.causal(), q=4), path)
    fix = "name a file in a folder that can be written to"
    assert str(error.value) == f"cannot be written: No such file or directory\n  where: {path}\n  to do: {fix}"


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(AttnMaskError) as error:
        figure_from_plan(am.compile(am.causal(), q=4))
    assert str(error.value) == 'matplotlib is not installed\n  where: a picture\n  to do: pip install "attnmask[draw]"'


def test_drawing_leaves_the_global_state_of_matplotlib_alone() -> None:
    import matplotlib
    from matplotlib._pylab_helpers import Gcf

    before = matplotlib.rcParams.copy()
    figure_from_plan(am.compile(am.causal(), q=4))
    assert matplotlib.rcParams.copy() == before
    assert Gcf.get_all_fig_managers() == []
