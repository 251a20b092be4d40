"""The t distribution against scipy's, from one degree of freedom to a million."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.student_t import two_sided_pvalue


@given(t=st.floats(-1e4, 1e4), freedom=st.floats(1, 1e6))
def test_it_agrees_with_scipy(t: float, freedom: float) -> None:
    expected = 2 * stats.t.sf(abs(t), freedom)
    got = two_sided_pvalue(t, freedom)
    if expected > 0.5:
        # Near 1 it is scipy that is up to 1e-8 off.
        assert got == pytest.approx(expected, abs=1e-8)
    elif expected > 1e-290:
        assert got == pytest.approx(expected, rel=1e-9)
    else:
        assert got < 1e-280


@pytest.mark.parametrize("freedom", [1, 1.5, 4, 24, 49, 51, 299, 598.3, 3898, 1e6])
@pytest.mark.parametrize("t", [0.01, 0.5, 1, 1.7, 3.29, 6, 15, 37])
def test_it_agrees_with_scipy_closely_where_windows_lie(t: float, freedom: float) -> None:
    expected = 2 * stats.t.sf(t, freedom)
    assert two_sided_pvalue(t, freedom) == pytest.approx(expected, rel=2e-11, abs=1e-290)
    assert two_sided_pvalue(-t, freedom) == two_sided_pvalue(t, freedom)


def test_small_t_is_exact_where_there_is_a_closed_form() -> None:
    """One degree of freedom is Cauchy's distribution; scipy's own figure is 3e-9 off here."""
    assert two_sided_pvalue(1e-8, 1) == pytest.approx(1 - 2 / math.pi * math.atan(1e-8), abs=1e-15)


def test_the_ends() -> None:
    assert two_sided_pvalue(0.0, 10) == 1
    assert two_sided_pvalue(1e200, 10) == 0
    assert 0 <= two_sided_pvalue(math.nextafter(0, 1), 10) <= 1


def test_programs_start_without_scipy() -> None:
    """The reason for this module: detectors on the t-test do not import it."""
    code = (
        "import sys; sys.path.insert(0, 'udf'); import detectors.welch, detectors.control_chart;"
        "sys.exit('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
