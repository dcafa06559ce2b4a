"""Photographs as input of a classifier: find the object, convert it as the images of the dataset were."""
