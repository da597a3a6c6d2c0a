import copy
import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.front import Front
from policies.fronts import FrontFile, Fronts
from policies.policy import MeasuredPolicy
from thinwire.channels import Channel
from thinwire.errors import BundleError, BundleMismatchError, UnknownPolicyError

ROOT = Path(__file__).parents[2]
BUNDLE_DIGEST = "b" * 64


AWGN_0, AWGN_10, RAYLEIGH = Channel("awgn", 0.0), Channel("awgn", 10.0), Channel("rayleigh", 10.0)


def altered(policy, **changes):
    return MeasuredPolicy(**(vars(policy) | changes))


def front_of(channel, *policies, bundle_digest=BUNDLE_DIGEST):
    changes = {"channel": channel, "bundle_digest": bundle_digest}
    return Front("tiny", bundle_digest, tuple(altered(one, **changes) for one in policies))


@pytest.fixture
def fronts(measured):
    """Two policies at AWGN 10 dB; the second of them, with other figures, also on a Rayleigh channel."""
    curve = ((0.0, 0.5, 0.02), (10.0, 0.7, 0.01))
    awgn = front_of(AWGN_10, measured((0.5, 1.0), 4, curve), measured((0.7, 0.9), 8))
    return Fronts((front_of(RAYLEIGH, measured((0.7, 0.9), 8, accuracy=0.6)), awgn))


@pytest.fixture
def other(measured):
    return Fronts((front_of(AWGN_10, measured((0.1, 0.1), 2)),))


def test_a_round_trip_keeps_everything(fronts, tmp_path):
    path = tmp_path / "policies.json"
    fronts.save(path)
    assert Fronts.load(path, BUNDLE_DIGEST) == fronts
    assert Fronts.load(path, BUNDLE_DIGEST).digest == fronts.digest


def test_the_digest_is_of_the_canonical_json(fronts, tmp_path):
    path = tmp_path / "policies.json"
    fronts.save(path)
    content = json.loads(path.read_text())
    stated = content.pop("digest")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert stated == fronts.digest == hashlib.sha256(canonical.encode()).hexdigest()


def test_layout_and_order_of_members_do_not_matter(fronts, tmp_path):
    path = tmp_path / "policies.json"
    path.write_text(json.dumps(dict(reversed(fronts.to_json().items())), indent=7))
    assert Fronts.load(path, BUNDLE_DIGEST) == fronts


def test_the_order_of_the_fronts_does_not_matter(fronts):
    assert [front.channel for front in fronts.fronts] == [AWGN_10, RAYLEIGH]
    assert Fronts(fronts.fronts[::-1]) == fronts


def test_every_front_is_part_of_the_digest(fronts, measured):
    first, second = fronts.fronts
    variants = [
        Fronts((first,)),
        Fronts((second,)),
        Fronts((first, front_of(RAYLEIGH, measured((0.7, 0.9), 8, accuracy=0.61)))),
        Fronts((first, front_of(AWGN_0, *second.policies))),
    ]
    assert len({fronts.digest, *(variant.digest for variant in variants)}) == 1 + len(variants)


def test_a_policy_is_found_on_every_front_that_holds_it(fronts):
    awgn, rayleigh = fronts.fronts
    assert fronts.policies == (*awgn.policies, *rayleigh.policies)
    assert fronts.get(awgn.policies[0].policy.id) == (awgn.policies[0],)
    assert fronts.get(awgn.policies[1].policy.id) == (awgn.policies[1], rayleigh.policies[0])
    with pytest.raises(UnknownPolicyError, match=r"a policy 'p-nothing'.*thinwire policies list"):
        fronts.get("p-nothing")


def test_fronts_are_of_one_bundle(fronts, measured):
    assert (fronts.bundle_name, fronts.bundle_digest) == ("tiny", BUNDLE_DIGEST)
    with pytest.raises(BundleMismatchError, match=f"of one bundle, got .*{'c' * 64}"):
        Fronts((fronts.fronts[0], front_of(RAYLEIGH, measured(), bundle_digest="c" * 64)))


def test_there_is_one_front_for_a_channel_and_one_depth_for_all(fronts, measured):
    with pytest.raises(BundleError, match="at least one front"):
        Fronts(())
    with pytest.raises(BundleError, match="got awgn at 10 dB, awgn at 10 dB"):
        Fronts((fronts.fronts[0], front_of(AWGN_10, measured())))
    with pytest.raises(BundleError, match=r"as many thresholds in each policy, got \[2, 3\]"):
        Fronts((fronts.fronts[0], front_of(RAYLEIGH, measured((0.5, 0.5, 0.5)))))


@pytest.fixture(scope="module")
def spread(measured):
    """Fronts of three models: AWGN at 0 and 10 dB, Rayleigh at 10 and 20 dB, Rician at 30 dB."""
    channels = (("awgn", 0.0), ("awgn", 10.0), ("rayleigh", 10.0), ("rayleigh", 20.0), ("rician", 30.0))
    return Fronts(tuple(front_of(Channel(*channel), measured()) for channel in channels))


@pytest.mark.parametrize(
    ("model", "snr_db", "nearest"),
    [
        ("awgn", 10.0, ("awgn", 10.0)),
        ("awgn", -20.0, ("awgn", 0.0)),
        ("awgn", 4.9, ("awgn", 0.0)),
        ("awgn", 5.0, ("awgn", 0.0)),
        ("awgn", 5.1, ("awgn", 10.0)),
        ("awgn", 60.0, ("awgn", 10.0)),
        # However far, the model's own.
        ("rayleigh", 0.0, ("rayleigh", 10.0)),
        ("rayleigh", 15.0, ("rayleigh", 10.0)),
        ("rician", -5.0, ("rician", 30.0)),
        # Not measured, or not known.
        ("pigeon", 30.0, ("awgn", 10.0)),
        ("", 1.0, ("awgn", 0.0)),
        ("", 9.0, ("awgn", 10.0)),
    ],
)
def test_the_nearest_front_is_of_the_same_model_then_of_the_nearest_snr(spread, model, snr_db, nearest):
    channel = spread.nearest(Channel(model, snr_db)).channel
    assert (channel.model, channel.snr_db) == nearest


@pytest.mark.parametrize(("snr_db", "model"), [(10.0, "rayleigh"), (26.0, "rician"), (25.0, "rayleigh")])
def test_without_awgn_an_unknown_model_gets_the_nearest_snr_of_any(spread, snr_db, model):
    fading = Fronts(spread.fronts[2:])
    assert fading.nearest(Channel("pigeon", snr_db)).channel.model == model


def test_all_fronts_stand_in_order_of_their_fit(spread):
    ordered = [(front.channel.model, front.channel.snr_db) for front in spread.nearest_first(Channel("rayleigh", 18.0))]
    assert ordered == [("rayleigh", 20.0), ("rayleigh", 10.0), ("awgn", 10.0), ("awgn", 0.0), ("rician", 30.0)]


@given(st.data())
def test_the_nearest_front_is_the_definition(measured, data):
    channels = st.tuples(st.sampled_from(("awgn", "rayleigh", "rician")), st.integers(-3, 3).map(float))
    held = data.draw(st.lists(channels, min_size=1, unique=True))
    fronts = Fronts(tuple(front_of(Channel(*channel), measured()) for channel in held))
    model, snr_db = data.draw(st.sampled_from(("awgn", "rayleigh", "pigeon", ""))), data.draw(st.floats(-4, 4))
    found = fronts.nearest(Channel(model, snr_db)).channel
    models = {channel[0] for channel in held}
    if served := next((one for one in (model, "awgn") if one in models), None):
        assert found.model == served
        models = {served}
    for other, other_db in held:
        if other in models:
            distance, own = abs(other_db - snr_db), abs(found.snr_db - snr_db)
            assert own < distance or (own == distance and found.snr_db <= other_db)


def first(content):
    return content["fronts"][0]["policies"][0]


def _resigned(change):
    """A change by somebody who also states the digest of the changed content."""

    def signed(content):
        change(content)
        del content["digest"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        content["digest"] = hashlib.sha256(canonical.encode()).hexdigest()

    return signed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema_version=9), "have schema 9; this version reads"),
        (lambda c: c.pop("schema_version"), "have schema None"),
        (lambda c: c["fronts"][0]["policies"][0]["objectives"].update(accuracy=0.99), "was altered: its digest is"),
        (lambda c: c["fronts"][0]["policies"].pop(), "was altered: its digest is"),
        (lambda c: c["fronts"].pop(), "was altered: its digest is"),
        (lambda c: c.update(digest="0" * 64), "was altered: its digest is"),
        (lambda c: c["bundle"].update(name="other"), "was altered: its digest is"),
        (lambda c: c["fronts"][0]["policies"][0]["provenance"].update(seed=99), "was altered: its digest is"),
        (_resigned(lambda c: first(c)["thresholds"].__setitem__(0, 0.4)), "with digest '.*' was altered"),
        (_resigned(lambda c: first(c).update(id="p-0000000000")), "policy 'p-0000000000' .* was altered"),
        (_resigned(lambda c: c["fronts"][0]["policies"].append(first(c))), "twice"),
        (_resigned(lambda c: c["fronts"][0].update(policies=[])), "at least one policy"),
        (_resigned(lambda c: c["fronts"].append(c["fronts"][0])), "at most one front"),
        (_resigned(lambda c: c.update(fronts=[])), "at least one front"),
        (_resigned(lambda c: c["fronts"][0]["channel"].update(model="rayleigh")), "a front of .* holds policies of"),
        (_resigned(lambda c: c["bundle"].update(name=3)), r"bundle\.name must be a text"),
        (lambda c: c.pop("digest"), "digest is missing"),
        (lambda c: c.update(fronts={}), r"fronts must be a list, got \{\}"),
        (lambda c: c.update(fronts=[3]), "front must be an object"),
        (lambda c: c["fronts"][0].update(policies={}), r"policies must be a list, got \{\}"),
        (lambda c: c.update(extra=1), "extra is unknown"),
    ],
)
def test_an_altered_file_is_refused(fronts, tmp_path, change, message):
    path = tmp_path / "policies.json"
    content = copy.deepcopy(fronts.to_json())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=message):
        Fronts.load(path, BUNDLE_DIGEST)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_front_is_refused(tmp_path, content):
    path = tmp_path / "policies.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"policies\.json"):
        Fronts.load(path, BUNDLE_DIGEST)


def test_the_front_of_another_bundle_is_refused(fronts, tmp_path):
    path = tmp_path / "policies.json"
    fronts.save(path)
    with pytest.raises(BundleMismatchError, match=f"expected {'c' * 64}"):
        Fronts.load(path, "c" * 64)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(fronts, other, tmp_path, monkeypatch, step):
    path = tmp_path / "policies.json"
    fronts.save(path)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(BundleError, match=r"cannot write the policy fronts .*no space left"):
        other.save(path)
    assert Fronts.load(path, BUNDLE_DIGEST) == fronts
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_front_is_readable_by_others(fronts, tmp_path):
    path = tmp_path / "policies.json"
    plain = tmp_path / "plain"
    plain.touch()
    fronts.save(path)
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_new_front_is_served_without_a_restart(fronts, other, tmp_path):
    path = tmp_path / "policies.json"
    fronts.save(path)
    file = FrontFile(path, BUNDLE_DIGEST)
    assert file.current == fronts
    other.save(path)
    assert file.current == other


def test_an_unchanged_file_is_not_read_again(fronts, tmp_path, monkeypatch):
    path = tmp_path / "policies.json"
    fronts.save(path)
    file = FrontFile(path, BUNDLE_DIGEST)
    monkeypatch.setattr(Fronts, "load", None)
    assert file.current == fronts


@pytest.mark.parametrize("breakage", ["truncated", "other bundle", "gone"])
def test_a_broken_front_is_told_once_and_the_last_good_one_stays(fronts, other, tmp_path, caplog, breakage):
    path = tmp_path / "policies.json"
    fronts.save(path)
    file = FrontFile(path, BUNDLE_DIGEST)
    if breakage == "truncated":
        path.write_text(path.read_text()[:-20])
    elif breakage == "gone":
        path.unlink()
    else:
        Fronts((front_of(AWGN_10, *fronts.fronts[0].policies, bundle_digest="c" * 64),)).save(path)
    with caplog.at_level(logging.INFO, "policies.fronts"):
        assert [file.current for _ in range(3)] == [fronts] * 3
    (record,) = [record for record in caplog.records if record.name == "policies.fronts"]
    assert record.levelno == logging.ERROR
    assert fronts.digest in caplog.text
    other.save(path)
    assert file.current == other


def test_fronts_that_are_not_there_yet_are_none_until_they_come(tmp_path, fronts):
    path = tmp_path / "policies.json"
    file = FrontFile(path, BUNDLE_DIGEST)
    assert file.current is None
    path.write_text("{")
    assert file.current is None
    fronts.save(path)
    assert file.current == fronts


def test_fronts_to_start_with_must_be_valid(tmp_path):
    path = tmp_path / "policies.json"
    path.write_text("{")
    with pytest.raises(BundleError, match="no readable policy fronts"):
        FrontFile(path, BUNDLE_DIGEST)


def test_serving_needs_neither_sqlalchemy_nor_torch():
    blocked = "import sys; sys.modules |= dict.fromkeys(['sqlalchemy', 'torch', 'botorch']); "
    code = blocked + "import policies.choice, policies.choice, policies.fronts, policies.pareto, policies.policy"
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("rician:k_db=3", "rician:k_db=3"),
        ("rician", "rician"),
        ("rician:k_db=9", "rician"),
        ("rayleigh:coherence=1", "rayleigh"),
        ("jakes:doppler=0.1", "awgn"),
        ("ric", "awgn"),
    ],
)
def test_of_one_model_the_same_parameters_come_first(measured, model, nearest):
    channels = [("awgn", 10.0), ("rayleigh", 0.0), ("rician", 5.0), ("rician:k_db=3", 0.0)]
    fronts = Fronts(tuple(front_of(Channel(*channel), measured((0.5, 1.0), 4)) for channel in channels))
    assert fronts.nearest(Channel(model, 10.0)).channel.model == nearest
