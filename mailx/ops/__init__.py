"""Operations: logs, metrics, health, certificates."""
