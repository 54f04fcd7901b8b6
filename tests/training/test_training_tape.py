import pytest
import torch
from plain_data import assert_same

from i2icli.methods.shared.draws import Draws
from i2icli.training.tape import Playback, Tape, UnforeseenDrawError, decisions_of


def draw_all(draws):
    """Draw of every kind, and more where a coin says so."""
    drawn = [draws.places("nce.0", count=3, total=9)]
    if draws.flip("flip"):
        drawn.append(draws.normal("style", (2, 3)))
    drawn.append(draws.normal("noise", [4, 2], parts=2))
    drawn.append(draws.shares("augment", [2, 3]))
    drawn.append(draws.swap("pool", size=2))
    return [*drawn, draws.places("nce.1", count=2, total=5)]


def known_tape(draws, steps=40):
    """Return a tape that has seen every kind of step."""
    tape = Tape(draws)
    for _ in range(steps):
        tape.begin()
        draw_all(tape)
        tape.finish()
    return tape


def test_a_step_that_draws_from_the_tape_draws_what_it_would_itself():
    ours, theirs = Draws(3), Draws(3)
    tape = Tape(ours)
    for _ in range(40):
        tape.begin()
        assert_same(draw_all(tape), draw_all(theirs))
        tape.finish()
        assert torch.equal(ours.state(), theirs.state())
    assert not tape.is_astray


def test_draws_of_known_steps_are_made_beforehand_and_branch_by_their_decisions():
    draws = Draws(3)
    tape = known_tape(draws)
    kinds = set()
    for _ in range(40):
        copy = Draws()
        copy.restore(draws.state())
        script = tape.begin()
        assert script is not None
        drawn = draw_all(copy)
        if decisions_of(script)[0]:
            names = ["nce.0", "flip", "style", "noise", "augment", "pool", "nce.1"]
        else:
            names = ["nce.0", "flip", "noise", "augment", "pool", "nce.1"]
        assert [made.call.name for made in script] == names
        assert_same([made.drawn for made in script if made.call.name != "flip"], drawn)
        assert torch.equal(draws.state(), copy.state())
        kinds.add(decisions_of(script))
    assert kinds == {(flip, slot) for flip in (False, True) for slot in (None, 0, 1)}


def test_a_branch_not_taken_before_is_not_foreseen():
    draws = Draws(3)
    tape = Tape(draws)
    assert tape.begin() is None
    draw_all(tape)
    first = tape.finish()
    seen = {first}
    for _ in range(20):
        script = tape.begin()
        draw_all(tape)
        kind = tape.finish()
        assert (script is not None) == (kind in seen)
        seen.add(kind)


def test_a_step_that_draws_otherwise_gets_what_it_would_draw_itself():
    ours, theirs = Draws(3), Draws(3)
    tape = Tape(ours)
    for sizes in ([4, 6], [4, 6], [4, 7, 2], [4, 6]):
        tape.begin()
        for draws in (tape, theirs):
            drawn = [draws.places("nce", count=9, total=size) for size in sizes]
            if draws is tape:
                mine = drawn
        assert_same(mine, drawn)
        tape.finish()
        assert torch.equal(ours.state(), theirs.state())
    assert tape.is_astray


def test_draws_that_a_shorter_step_leaves_are_taken_back():
    ours, theirs = Draws(3), Draws(3)
    tape = Tape(ours)
    for count in (3, 3, 1):
        tape.begin()
        for draws in (tape, theirs):
            for _ in range(count):
                draws.flip("flip") if count == 1 else draws.places("nce", count=2, total=4)
        tape.finish()
        assert torch.equal(ours.state(), theirs.state())
    assert tape.is_astray


def test_playback_gives_the_tensors_that_lie_ready():
    draws = Draws(3)
    tape = Tape(draws)
    tape.begin()
    drawn = draw_all(tape)
    playback, state = Playback(draws, tape.made), draws.state()
    again = draw_all(playback)
    playback.finish()
    assert all(
        ours is theirs
        for ours, theirs in zip(again, drawn, strict=True)
        if isinstance(ours, torch.Tensor)
    )
    assert torch.equal(draws.state(), state)


def test_playback_refuses_a_step_that_draws_otherwise():
    draws = Draws(3)
    tape = Tape(draws)
    tape.begin()
    tape.flip("flip")
    with pytest.raises(UnforeseenDrawError, match="'other', which was not to come"):
        Playback(draws, tape.made).flip("other")
    with pytest.raises(UnforeseenDrawError, match="did not ask for 'flip'"):
        Playback(draws, tape.made).finish()


def test_lowest_is_no_random_choice_and_comes_from_the_real_draws():
    scores = torch.tensor([[3.0, 1.0, 2.0]])
    script = []
    for draws in (Tape(Draws()), Playback(Draws(), script)):
        assert draws.lowest("nce.3", scores, count=2).tolist() == [[1, 2]]


def test_state_is_that_of_the_real_draws():
    draws = Draws(3)
    tape = Tape(draws)
    saved = tape.state()
    tape.flip("flip")
    tape.restore(saved)
    assert torch.equal(draws.state(), saved)
