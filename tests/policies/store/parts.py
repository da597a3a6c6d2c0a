"""What the tests of the store share: a study's identity, writing processes, and a way past the store."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from thinwire.channels import Channel

ROOT = Path(__file__).parents[3]
IDENTITY = {
    "bundle_name": "tiny",
    "bundle_digest": "b" * 64,
    "channel": Channel("awgn", 10.0),
    "split": "select",
    "data_digest": "d" * 64,
    "seed": 7,
    "versions": {"thinwire": "0.1.0"},
    "settings": {"strategy": "sobol", "space": {"layers": [0, 1], "rates": (4, 8)}},
}

# What every writing process begins with; its arguments are the URL and its own.
WRITER = f"""
import sys
from policies.policy import Policy
from policies.policy import MeasuredPolicy, Objectives
from thinwire.channels import Channel
from policies.store import Store
from policies.study import Study

def sample(number):
    figures = Objectives(0.5 + number / 100000, 0.01, 100, 1.0, 50.0 + number, 80, 10.0, 1.0, 0.0, 0.0, 0.01)
    policy = Policy.create((number / 10000, 0.5), 8)
    return MeasuredPolicy(policy, "b" * 64, Channel("awgn", 10.0), figures)

identity = dict(bundle_name="tiny", bundle_digest="b" * 64, channel=Channel("awgn", 10.0), split="select",
                data_digest="d" * 64, seed=7, versions={IDENTITY["versions"]}, settings={IDENTITY["settings"]})
"""


def number_of(measured):
    """The number that `sample` of a writer made a policy from."""
    return round(measured.policy.thresholds[0] * 10000)


def start(code, *arguments):
    """A process that runs `WRITER` and then this code."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER + code, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def past_the_store(url):
    """A transaction in the database, without the store."""
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def alter(url, statement, **parameters):
    """Runs a statement in the database, without the store."""
    with past_the_store(url) as connection:
        connection.execute(sa.text(statement), parameters)
