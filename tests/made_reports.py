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
ROUTED = """
------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
     {slack}        0.000                      0                 9000        0.030        0.000
"""
