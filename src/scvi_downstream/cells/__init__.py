"""What is known of cells: obs columns, samples, expression, proteins."""
