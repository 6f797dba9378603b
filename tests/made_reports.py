"""Reports as FINN and Vivado write them, with figures made up."""

ROW = {"LUT": 1200, "SRL": 10, "FF": 2100, "BRAM_36K": 3, "BRAM_18K": 1, "DSP": 4}
ALONE = {
    **ROW,
    "BRAM": 3,
    "WNS": 1.5,
    "total_power_W": 0.21,
    "clk_period_ns": 10.0,
    "vivado_version": "2022.2",
    "fmax_mhz": 117.6,
}
# The form of Vivado's report_timing_summary, with figures made up.
_ROUTED = """
------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  \
THS Failing Endpoints  THS Total Endpoints     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  TPWS Total Endpoints
    -------      -------  ---------------------  -------------------      -------      -------  \
---------------------  -------------------     --------     --------  ----------------------  --------------------
     {slack}        0.000                      0                 9000        {hold}        0.000  \
                    0                 9000        {pulse}        0.000                       0                  4000
"""


def routed(slack: str = "0.250", hold: str = "0.030", pulse: str = "3.750") -> str:
    """A timing summary of a routed design."""
    return _ROUTED.format(slack=slack, hold=hold, pulse=pulse)
