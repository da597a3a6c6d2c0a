"""What all experiments share: settings, repetitions in turn, reports, pages."""
