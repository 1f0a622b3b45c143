"""How far an estimate may be from the truth: influence functions, bias, kinks, intervals, resampling."""
