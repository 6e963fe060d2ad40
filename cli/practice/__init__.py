"""A stand-in for the provider on loopback: no credentials, no network, no model.

``cli.practice.directives`` lists what a request can ask of it.
"""

from cli.practice.records import Ending, Record
from cli.practice.server import PRACTICE_API_KEY, PRACTICE_TOKEN, PracticeUpstream

__all__ = ["PRACTICE_API_KEY", "PRACTICE_TOKEN", "Ending", "PracticeUpstream", "Record"]
