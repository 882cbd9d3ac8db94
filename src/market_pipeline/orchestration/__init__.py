"""The shell: feeds become Dagster assets by a factory. The only package that imports dagster."""
