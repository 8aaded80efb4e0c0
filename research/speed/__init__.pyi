from research.speed.measure import names, record, table

__all__ = ["names", "record", "table"]
