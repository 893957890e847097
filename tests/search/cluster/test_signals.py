"""Signals: what interrupts a command, and what lets it finish first."""

import os
import signal
import threading

import pytest

from search.cluster.signals import finish_despite_sigterm, keep_sigterm_handler, sigterm_as_interrupt


def send_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_interrupts_like_ctrl_c_during_the_block_only():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        send_sigterm()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_first_sigterm_lets_the_block_finish_and_a_second_does_not(capsys):
    with finish_despite_sigterm():
        send_sigterm()
        assert "the promotion is finished first" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            send_sigterm()


def test_ctrl_c_interrupts_a_block_that_finishes_despite_sigterm():
    with pytest.raises(KeyboardInterrupt), finish_despite_sigterm():
        os.kill(os.getpid(), signal.SIGINT)


def test_keep_sigterm_handler_restores_what_ray_replaces():
    with sigterm_as_interrupt():
        with keep_sigterm_handler():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as ray.init does, with a handler of its own
        with pytest.raises(KeyboardInterrupt):
            send_sigterm()


def test_handlers_do_nothing_outside_the_main_thread():
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
