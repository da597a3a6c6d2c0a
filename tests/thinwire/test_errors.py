"""The table of errors: every class has a code of its own and statuses that exist."""

import re
from http import HTTPStatus

import grpc
import pytest

from thinwire import errors
from thinwire.errors import ThinwireError

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ThinwireError)]


def test_codes_are_words_and_name_one_class_each():
    codes = [kind.code for kind in CLASSES]
    assert len(codes) == len(set(codes)) > 10
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", code) for code in codes)


def test_only_the_base_class_keeps_its_defaults():
    for kind in CLASSES[1:]:
        assert {"code", "http_status", "grpc_status", "title"} <= vars(kind).keys(), kind


@pytest.mark.parametrize("kind", CLASSES)
def test_statuses_exist_and_are_errors(kind):
    assert 400 <= HTTPStatus(kind.http_status) < 600
    assert grpc.StatusCode[kind.grpc_status] is not grpc.StatusCode.OK
    assert kind.__doc__
    assert kind.title


@pytest.mark.parametrize("kind", CLASSES)
def test_what_a_caller_did_wrong_is_not_retried(kind):
    # gRPC's channels retry UNAVAILABLE, and HTTP's 503 invites to.
    assert (kind.grpc_status == "UNAVAILABLE") == (kind.http_status == 503)
    assert (kind.retry_after_s is not None) == (kind.http_status in (429, 503))
    if 400 <= kind.http_status < 500:
        assert kind.grpc_status not in {"INTERNAL", "UNKNOWN", "UNAVAILABLE"}
