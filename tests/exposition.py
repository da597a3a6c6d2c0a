"""What a scrape of ``/metrics`` says."""

from prometheus_client.parser import text_string_to_metric_families


def samples(text: str) -> dict[str, float]:
    """Values by name and labels, as in ``frames_total{outcome=ok,service=cloud}``; buckets and start times left out."""
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_created")):
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                key = f"{sample.name}{{{labels}}}" if labels else sample.name
                assert key not in values, f"{key} is there twice"
                values[key] = sample.value
    return values


def outcomes(text: str, name: str) -> dict[str, float]:
    """Values of a counter by outcome, those that are not zero; the label ``service`` is checked to be one for all."""
    found: dict[str, float] = {}
    services = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.value:
                found[sample.labels["outcome"]] = sample.value
                services.add(sample.labels["service"])
    assert len(services) <= 1
    return found
