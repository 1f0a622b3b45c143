"""The certified union information of two sources: min over Q in Delta_P of I_Q(X1, X2; Y)."""
