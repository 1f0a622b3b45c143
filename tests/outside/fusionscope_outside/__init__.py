"""What a user of fusionscope adds from a package of their own: one module each."""
