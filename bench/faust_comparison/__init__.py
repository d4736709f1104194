"""The same faults for stock Faust and for streamfold: what each has counted and published in the end."""
