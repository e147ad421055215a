"""Pictures and pages for people: label PNGs, overlays, contact sheets, summary pages. Needs no torch."""
