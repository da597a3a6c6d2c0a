"""Recipes: everything that makes a bundle from data, in one JSON file each."""
