"""Which tasks there are."""

from typing import Any

from services.reports.label_quality import ManyLabels
from services.reports.quality import OneCategory
from services.reports.task import Task
from shared.domain.label_sets import Classes, LabelSets
from shared.domain.taxonomy import Taxonomy


def task_of(taxonomy: Taxonomy, classes: Classes) -> Task[Any, Any]:
    """The one whose products are of these classes: rows of the category table, or label sets."""
    return ManyLabels(taxonomy, classes) if isinstance(classes, LabelSets) else OneCategory(taxonomy)
