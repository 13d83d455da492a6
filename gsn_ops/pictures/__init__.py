"""Pictures of what happened, from a RunReport: float32 numpy arrays [H, W, 3] in 0..1. Needs numpy and Pillow."""
from .charts import loss_curve, maxima_bars
from .heat import heat_colours, heat_map
from .sheets import contact_sheet, report_card

__all__ = ["contact_sheet", "heat_colours", "heat_map", "loss_curve", "maxima_bars", "report_card"]
