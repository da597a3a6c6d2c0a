import copy
import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policies.front import Front, FrontFile
from policies.record import ChannelProfile, MeasuredPolicy
from thinwire.errors import BundleError, BundleMismatchError, UnknownPolicyError

ROOT = Path(__file__).parents[2]
BUNDLE_DIGEST = "b" * 64


@pytest.fixture
def front(measured):
    curve = ((0.0, 0.5, 0.02), (10.0, 0.7, 0.01))
    return Front("tiny", BUNDLE_DIGEST, (measured((0.5, 1.0), 4, curve), measured((0.7, 0.9), 8)))


@pytest.fixture
def other(measured):
    return Front("tiny", BUNDLE_DIGEST, (measured((0.1, 0.1), 2),))


def altered(policy, **changes):
    return MeasuredPolicy(**(vars(policy) | changes))


def test_a_round_trip_keeps_everything(front, tmp_path):
    path = tmp_path / "policies.json"
    front.save(path)
    assert Front.load(path, BUNDLE_DIGEST) == front
    assert Front.load(path, BUNDLE_DIGEST).digest == front.digest


def test_the_digest_is_of_the_canonical_json(front, tmp_path):
    path = tmp_path / "policies.json"
    front.save(path)
    content = json.loads(path.read_text())
    stated = content.pop("digest")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert stated == front.digest == hashlib.sha256(canonical.encode()).hexdigest()


def test_layout_and_order_of_members_do_not_matter(front, tmp_path):
    path = tmp_path / "policies.json"
    path.write_text(json.dumps(dict(reversed(front.to_json().items())), indent=7))
    assert Front.load(path, BUNDLE_DIGEST) == front


def test_every_part_of_the_content_changes_the_digest(front, measured):
    first, second = front.policies
    variants = [
        Front("other", BUNDLE_DIGEST, front.policies),
        Front("tiny", BUNDLE_DIGEST, (first,)),
        Front("tiny", BUNDLE_DIGEST, (first, altered(second, channel=ChannelProfile("rayleigh", 10.0)))),
        Front("tiny", BUNDLE_DIGEST, (first, altered(second, provenance={"seed": 8}))),
        Front("tiny", BUNDLE_DIGEST, (first, measured((0.7, 0.9), 8, accuracy=0.71))),
    ]
    assert len({front.digest, *(variant.digest for variant in variants)}) == 1 + len(variants)


def test_get_finds_by_id_and_tells_how_to_list(front):
    assert front.get(front.policies[1].policy.id) is front.policies[1]
    with pytest.raises(UnknownPolicyError, match=r"no policy 'p-nothing'.*thinwire policies list"):
        front.get("p-nothing")


def test_a_front_is_of_one_bundle(front):
    stranger = altered(front.policies[1], bundle_digest="c" * 64)
    with pytest.raises(BundleMismatchError, match=stranger.policy.id):
        Front("tiny", BUNDLE_DIGEST, (front.policies[0], stranger))


def test_a_front_is_neither_empty_nor_repeats_nor_mixes_depths(front, measured):
    with pytest.raises(BundleError, match="at least one policy"):
        Front("tiny", BUNDLE_DIGEST, ())
    with pytest.raises(BundleError, match="twice"):
        Front("tiny", BUNDLE_DIGEST, (front.policies[0], front.policies[0]))
    with pytest.raises(BundleError, match=r"as many thresholds each, got \[2, 3\]"):
        Front("tiny", BUNDLE_DIGEST, (front.policies[0], measured((0.5, 0.5, 0.5))))


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
        (lambda c: c.update(schema_version=9), "has schema 9; this version reads"),
        (lambda c: c.pop("schema_version"), "has schema None"),
        (lambda c: c["policies"][0]["objectives"].update(accuracy=0.99), "was altered: its digest is"),
        (lambda c: c["policies"].pop(), "was altered: its digest is"),
        (lambda c: c.update(digest="0" * 64), "was altered: its digest is"),
        (lambda c: c["bundle"].update(name="other"), "was altered: its digest is"),
        (lambda c: c["policies"][0]["provenance"].update(seed=99), "was altered: its digest is"),
        (_resigned(lambda c: c["policies"][0]["thresholds"].__setitem__(0, 0.4)), "with digest '.*' was altered"),
        (_resigned(lambda c: c["policies"][0].update(id="p-0000000000")), "policy 'p-0000000000' .* was altered"),
        (_resigned(lambda c: c["policies"].append(c["policies"][0])), "twice"),
        (_resigned(lambda c: c.update(policies=[])), "at least one policy"),
        (_resigned(lambda c: c["bundle"].update(name=3)), r"bundle\.name must be a text"),
        (lambda c: c.pop("digest"), r"missing \['digest'\]"),
        (lambda c: c.update(policies={}), "policies must be a list"),
        (lambda c: c.update(extra=1), r"unknown \['extra'\]"),
    ],
)
def test_an_altered_file_is_refused(front, tmp_path, change, message):
    path = tmp_path / "policies.json"
    content = copy.deepcopy(front.to_json())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=message):
        Front.load(path, BUNDLE_DIGEST)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_front_is_refused(tmp_path, content):
    path = tmp_path / "policies.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"policies\.json"):
        Front.load(path, BUNDLE_DIGEST)


def test_thresholds_of_mixed_length_are_refused_in_a_file(front, measured, tmp_path):
    path = tmp_path / "policies.json"
    content = front.to_json()
    content["policies"].append(measured((0.5,)).to_json())
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"as many thresholds each, got \[1, 2\]"):
        Front.load(path, BUNDLE_DIGEST)


def test_the_front_of_another_bundle_is_refused(front, tmp_path):
    path = tmp_path / "policies.json"
    front.save(path)
    with pytest.raises(BundleMismatchError, match=f"expected {'c' * 64}"):
        Front.load(path, "c" * 64)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(front, other, tmp_path, monkeypatch, step):
    path = tmp_path / "policies.json"
    front.save(path)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(BundleError, match=r"cannot write the policy front .*no space left"):
        other.save(path)
    assert Front.load(path, BUNDLE_DIGEST) == front
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_front_is_readable_by_others(front, tmp_path):
    path = tmp_path / "policies.json"
    plain = tmp_path / "plain"
    plain.touch()
    front.save(path)
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_new_front_is_served_without_a_restart(front, other, tmp_path):
    path = tmp_path / "policies.json"
    front.save(path)
    file = FrontFile(path, BUNDLE_DIGEST)
    assert file.current == front
    other.save(path)
    assert file.current == other


def test_an_unchanged_file_is_not_read_again(front, tmp_path, monkeypatch):
    path = tmp_path / "policies.json"
    front.save(path)
    file = FrontFile(path, BUNDLE_DIGEST)
    monkeypatch.setattr(Front, "load", None)
    assert file.current == front


@pytest.mark.parametrize("breakage", ["truncated", "other bundle", "gone"])
def test_a_broken_front_is_told_once_and_the_last_good_one_stays(front, other, tmp_path, caplog, breakage):
    path = tmp_path / "policies.json"
    front.save(path)
    file = FrontFile(path, BUNDLE_DIGEST)
    if breakage == "truncated":
        path.write_text(path.read_text()[:-20])
    elif breakage == "gone":
        path.unlink()
    else:
        Front("other", "c" * 64, (altered(front.policies[0], bundle_digest="c" * 64),)).save(path)
    with caplog.at_level(logging.INFO, "policies.front"):
        assert [file.current for _ in range(3)] == [front] * 3
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.ERROR
    assert front.digest in caplog.text
    other.save(path)
    assert file.current == other


def test_there_must_be_a_front_to_start_with(tmp_path):
    with pytest.raises(BundleError, match="no readable policy front"):
        FrontFile(tmp_path / "policies.json", BUNDLE_DIGEST)


def test_serving_needs_neither_sqlalchemy_nor_torch():
    blocked = "import sys; sys.modules |= dict.fromkeys(['sqlalchemy', 'torch', 'botorch', 'pydantic']); "
    code = blocked + "import policies.budget, policies.choice, policies.front, policies.pareto, policies.record"
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, timeout=60)
