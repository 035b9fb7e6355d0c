from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from detection.d3 import D3Error
from detection.errors import DatabaseUnavailableError, ServiceError
from detection.management.base import ServiceCommand

pytestmark = pytest.mark.stateless


class Failing(ServiceCommand):
    requires_system_checks = []
    error: BaseException

    def handle(self, *args, **options) -> None:
        raise self.error from OSError("refused\nby the server")


def failed(error: BaseException, *, names_cause: bool = False) -> tuple[str, int]:
    command = Failing()
    command.error, command.names_cause = error, names_cause
    with pytest.raises(CommandError) as caught:
        call_command(command)
    return str(caught.value), caught.value.returncode


@pytest.mark.parametrize("kind", [D3Error, ServiceError, DatabaseUnavailableError])
def test_an_expected_error_gives_its_sentence_and_exit_code_1(kind):
    assert failed(kind("It is broken.")) == ("It is broken.", 1)


def test_an_outage_may_name_its_cause():
    error = DatabaseUnavailableError("The database cannot be reached.")

    sentence, _ = failed(error, names_cause=True)

    assert sentence == "The database cannot be reached: refused."
    assert failed(ServiceError("It is broken."), names_cause=True) == ("It is broken.", 1)


def test_an_interruption_has_the_exit_code_of_a_shell():
    assert failed(KeyboardInterrupt()) == ("Interrupted.", 130)


def test_an_unexpected_error_is_raised():
    command = Failing()
    command.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        call_command(command)
