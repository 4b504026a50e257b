"""Findings and the report: terminal, HTML, JUnit XML, JSON, reproductions."""
