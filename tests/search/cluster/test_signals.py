"""Signals: what ends a program, what lets it finish first, and who may say so."""

import os
import signal
import threading

import pytest

from search.cluster.signals import finish_despite_sigterm, keep_sigterm_handler, sigterm_as_interrupt


def kill_politely() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_polite_kill_is_what_ctrl_c_is_and_only_meanwhile():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        kill_politely()
    assert signal.getsignal(signal.SIGTERM) is before


def test_finishing_goes_on_after_a_polite_kill_and_says_so_but_not_after_two(capsys):
    with finish_despite_sigterm():
        kill_politely()
        assert "the promotion is finished first" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            kill_politely()


def test_finishing_is_ended_by_ctrl_c_at_once():
    with pytest.raises(KeyboardInterrupt), finish_despite_sigterm():
        os.kill(os.getpid(), signal.SIGINT)


def test_own_handlers_outlast_what_others_do_to_them():
    with sigterm_as_interrupt():
        with keep_sigterm_handler():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as ray.init does, with a handler of its own
        with pytest.raises(KeyboardInterrupt):
            kill_politely()


def test_handlers_are_left_alone_outside_the_main_thread():
    errors = []

    def enter() -> None:
        try:
            with sigterm_as_interrupt(), keep_sigterm_handler(), finish_despite_sigterm():
                pass
        except Exception as error:  # a thread's own is lost
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert errors == []
