//! Pure rules of the control plane: names, plans, quotas, roles.
