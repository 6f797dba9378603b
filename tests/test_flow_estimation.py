"""`bitloop estimate` with FINN for real, and what it says to wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boards.board import Resources
from flow.cli import main
from flow.errors import PolicyError, SettingsError
from flow.policy_file import read_policy
from hls.equality import differences
from hls.types import Estimate, NodeEstimate
from models.policy import BitPolicy, LayerBits

TFC = BitPolicy({"fc0": LayerBits(1, 3), "fc1": LayerBits(2, 2), "fc2": LayerBits(2, 1), "fc3": LayerBits(8, None)})


def test_a_policy_is_estimated_item_by_item_and_checked_against_finn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"policy": json.loads(TFC.to_json())}))
    base = ["estimate", "--model", "tfc", "--dataset", "digits"]
    assert main([*base, "--policy", str(file)]) == 0
    out = capsys.readouterr().out
    assert "MVAU_hls_0" in out
    assert "thresholds merged into the unit, in LUT" in out
    assert "with corrections" in out
    assert "fc0=W1A3, fc1=W2A2, fc2=W2A1, fc3=W8" in out
    assert "fits within 85% of a PYNQ-Z2" in out
    assert "all estimated" in out
    assert main([*base, "--policy", str(file), "--front"]) == 0
    assert "frame rate against use" in capsys.readouterr().out
    assert main([*base, "--policy", str(file), "--min-fps", "20000"]) == 0
    assert "fits within 85%" in capsys.readouterr().out
    assert main([*base, "--policy", str(file), "--min-fps", "1e9"]) == 2
    assert "no folding of BitPolicy(fc0=W1A3" in capsys.readouterr().err
    assert main([*base, "--check", "1"]) == 0
    assert "no differences: node class, cycles, LUT, BRAM18, DSP and folding are equal" in capsys.readouterr().out


def test_wrong_bits_and_policies_are_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--board", "pynq-z3"]) == 2
    assert "unknown board 'pynq-z3'; did you mean 'pynq-z" in capsys.readouterr().err
    missing = tmp_path / "none.json"
    with pytest.raises(SettingsError, match=r"POLICY=.*none\.json holds no policy .*; give the policy\.json of a run"):
        read_policy(missing)
    missing.write_text("[]")
    with pytest.raises(SettingsError, match="holds no policy"):
        read_policy(missing)
    missing.write_text('{"policy": {"fc0": {"weight": 9, "act": 2}}}')
    with pytest.raises(PolicyError, match="the weight of layer 'fc0' has 9 bits; allowed are the whole numbers 1 to 8"):
        read_policy(missing)


class TestDifferences:
    @staticmethod
    def estimate(lut: float = 5.0, **folding: int | str) -> Estimate:
        node = NodeEstimate("MVAU_0", "MVAU_hls", "fc0", 7, Resources(lut=lut), {"PE": 2, **folding})
        return Estimate((node,), 100.0, "by hand")

    def test_equal_estimates_have_none(self) -> None:
        assert differences(self.estimate(), self.estimate(mem_mode="internal_decoupled")) == []
        assert differences(self.estimate(ram_style="block"), self.estimate(ram_style="auto")) == []

    def test_each_is_named(self) -> None:
        assert differences(self.estimate(lut=6.0), self.estimate()) == [
            "MVAU_0 resources: Resources(lut=6.0, ff=0, bram18=0, dsp=0) in the estimate, "
            "Resources(lut=5.0, ff=0, bram18=0, dsp=0) in FINN's flow"
        ]
        assert differences(self.estimate(SIMD=3), self.estimate(SIMD=1)) == ["MVAU_0 SIMD: 3 in the estimate, 1 in FINN's flow"]
        assert differences(Estimate((), 1.0, ""), self.estimate()) == ["0 nodes in the estimate, 1 in FINN's flow"]
