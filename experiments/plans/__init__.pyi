from .context import Context as Context
from .plan import StudyPlan as StudyPlan, resolve as resolve
