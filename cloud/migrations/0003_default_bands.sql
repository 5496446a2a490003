-- What is healthy where a site says nothing else: water.bands.DEFAULT, as a test compares.
insert into bands (metric, low, high, dead_band, severity, jurisdiction, source, verified) values
    ('ph_level', 6.5, 8.5, 0.05, 3, 'US', '40 CFR 143.3 (secondary)', true),
    ('turbidity', null, 1.0, 0.1, 4, 'US', '40 CFR 141.173 (filtered, maximum)', false),
    ('dissolved_oxygen', 4.0, null, 0.2, 3, 'platform', 'aquatic life, critical', false),
    ('conductivity', null, 2500.0, 25.0, 2, 'EU', '98/83/EC annex I C', false),
    ('free_chlorine', null, 4.0, 0.1, 4, 'US', '40 CFR 141.65 (MRDL)', false),
    ('chlorine_dioxide', null, 0.8, 0.02, 4, 'US', '40 CFR 141.65 (MRDL)', false),
    ('nitrate', null, 10.0, 0.2, 5, 'US', '40 CFR 141.62 (as N)', false),
    ('lead', null, 15.0, 0.5, 5, 'US', '40 CFR 141.80 (action level)', false),
    ('arsenic', null, 10.0, 0.5, 5, 'US', '40 CFR 141.62', false)
on conflict do nothing;

-- The settling of alerts reads the last resolved alert of a key.
create index alerts_by_key on contamination_alerts (sensor_id, contaminant_type, metric, resolved_observed_at);
