import copy
import re

import pytest

from policies.front import Front
from policies.policy import MeasuredPolicy
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.errors import BundleError, BundleMismatchError, InvalidRequestError

BUNDLE_DIGEST = "b" * 64
RAYLEIGH = Channel("rayleigh", 10.0)


@pytest.fixture
def front(measured):
    curve = ((0.0, 0.5, 0.02), (10.0, 0.7, 0.01))
    return Front("tiny", BUNDLE_DIGEST, (measured((0.5, 1.0), 4, curve), measured((0.7, 0.9), 8)))


def altered(policy, **changes):
    return MeasuredPolicy(**(vars(policy) | changes))


def test_a_round_trip_keeps_everything(front):
    again = Front.from_json("tiny", BUNDLE_DIGEST, front.to_json())
    assert again == front
    assert again.digest == front.digest


def test_every_part_of_the_content_changes_the_digest(front, measured):
    first, second = front.policies
    variants = [
        Front("other", BUNDLE_DIGEST, front.policies),
        Front("tiny", BUNDLE_DIGEST, (first,)),
        Front("tiny", BUNDLE_DIGEST, tuple(altered(one, channel=RAYLEIGH) for one in front.policies)),
        Front("tiny", BUNDLE_DIGEST, (first, altered(second, provenance={"seed": 8}))),
        Front("tiny", BUNDLE_DIGEST, (first, measured((0.7, 0.9), 8, accuracy=0.71))),
    ]
    assert len({front.digest, *(variant.digest for variant in variants)}) == 1 + len(variants)


def test_a_front_is_of_one_bundle(front):
    stranger = altered(front.policies[1], bundle_digest="c" * 64)
    with pytest.raises(BundleMismatchError, match=stranger.policy.id):
        Front("tiny", BUNDLE_DIGEST, (front.policies[0], stranger))


@pytest.mark.parametrize("channel", [RAYLEIGH, Channel("awgn", 9.0), Channel("awgn", 10.0, Csi.parse("none"))])
def test_a_front_is_of_one_channel(front, channel):
    assert front.channel == Channel("awgn", 10.0)
    stranger = altered(front.policies[1], channel=channel)
    with pytest.raises(BundleError, match=re.escape(f"of one channel, got {front.channel.name} and {channel.name}")):
        Front("tiny", BUNDLE_DIGEST, (front.policies[0], stranger))


def test_a_front_is_neither_empty_nor_repeats_nor_mixes_depths(front, measured):
    with pytest.raises(BundleError, match="at least one policy"):
        Front("tiny", BUNDLE_DIGEST, ())
    with pytest.raises(BundleError, match="twice"):
        Front("tiny", BUNDLE_DIGEST, (front.policies[0], front.policies[0]))
    with pytest.raises(BundleError, match=r"as many thresholds each, got \[2, 3\]"):
        Front("tiny", BUNDLE_DIGEST, (front.policies[0], measured((0.5, 0.5, 0.5))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(policies={}), r"policies must be a list, got \{\}"),
        (lambda c: c.pop("channel"), "channel is missing"),
        (lambda c: c.update(extra=1), "extra is unknown"),
        (lambda c: c["channel"].update(snr_db=None), r"channel\.snr_db must be a number"),
        (lambda c: c["channel"].update(snr_db=0.0), "a front of awgn at 0 dB holds policies of awgn at 10 dB"),
    ],
)
def test_a_wrong_form_is_told(front, change, message):
    content = copy.deepcopy(front.to_json())
    change(content)
    with pytest.raises(InvalidRequestError, match=message):
        Front.from_json("tiny", BUNDLE_DIGEST, content)
