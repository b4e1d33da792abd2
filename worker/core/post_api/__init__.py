"""The Post API's tables: resources, their columns, what a value must be."""
