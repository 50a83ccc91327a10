//! The template of the page. It stands in a Rust file because askama looks for template files in
//! the crate's top folder only.

use super::{Alert, Channel, Container, Counts, Ended, Held, Row};

#[derive(askama::Template)]
#[template(
    ext = "html",
    source = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="15">
<title>{{ status }}: {{ host }}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body>
{%- macro checks(rows) %}
<table>
<thead><tr><th>State</th><th>Check</th><th>What</th><th>For</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr class="{{ row.severity }}">
<td><span class="tag">{{ row.severity }}</span></td>
<td class="id">{{ row.id }}</td>
<td>{{ row.summary }}<small><span title="{{ row.meaning }}">{{ row.reason }}</span>{% if !row.detail.is_empty() %} · {{ row.detail }}{% endif %}</small></td>
<td class="since" title="since {{ row.since }}">{{ row.for_ }}</td>
</tr>
{%- endfor %}
</tbody>
</table>
{%- endmacro %}
<header class="{{ status }}">
<p class="host">{{ host }}{% for label in labels %} <span class="label">{{ label }}</span>{% endfor %}</p>
<h1><span class="dot"></span>{{ headline }}</h1>
<p class="quiet">as of {{ at }} · keepwell {{ version }}, running for {{ up }}</p>
</header>
<main>
<ul class="counts">
<li class="critical{% if counts.critical == 0 %} none{% endif %}"><b>{{ counts.critical }}</b> critical</li>
<li class="warning{% if counts.warning == 0 %} none{% endif %}"><b>{{ counts.warning }}</b> warning</li>
<li class="unknown{% if counts.unknown == 0 %} none{% endif %}"><b>{{ counts.unknown }}</b> unknown</li>
<li class="healthy{% if counts.healthy == 0 %} none{% endif %}"><b>{{ counts.healthy }}</b> healthy</li>
</ul>
{%- if !bad.is_empty() %}
<section>
<h2>Needs a look</h2>
{% call checks(bad) %}{% endcall %}
</section>
{%- endif %}
{%- if !quiet.is_empty() || !silences.is_empty() || !maintenance.is_empty() %}
<section>
<h2>Kept quiet</h2>
<ul class="holds">
{%- if !quiet.is_empty() %}
<li>waits: {{ quiet }}</li>
{%- endif %}
{%- for silence in silences %}
<li><span class="id">{{ silence.what }}</span> is silent until {{ silence.until }}<small>{{ silence.actor }}{% if !silence.why.is_empty() %}: {{ silence.why }}{% endif %}</small></li>
{%- endfor %}
{%- for window in maintenance %}
<li>maintenance: {{ window }}</li>
{%- endfor %}
</ul>
</section>
{%- endif %}
{%- if !alerts.is_empty() %}
<section>
<h2>Open alerts</h2>
{%- for alert in alerts %}
<article class="{{ alert.severity }}">
<p><span class="tag">{{ alert.severity }}</span> <span class="id">{{ alert.what }}</span> <span class="label">{{ alert.id }}</span></p>
<p>{{ alert.summary }}</p>
{%- for mark in alert.marks %}
<p class="mark">{{ mark }}</p>
{%- endfor %}
<p class="quiet">open for {{ alert.for_ }}, since {{ alert.opened }} · {{ alert.telling }}</p>
{%- if !alert.acts.is_empty() || !alert.next.is_empty() %}
<ul class="acts">{% for act in alert.acts %}<li>{{ act }}</li>{% endfor %}{% if !alert.next.is_empty() %}<li>next: {{ alert.next }}</li>{% endif %}</ul>
{%- endif %}
{%- if !alert.lines.is_empty() %}
<pre>{% for line in alert.lines %}{{ line }}
{% endfor %}</pre>
{%- endif %}
</article>
{%- endfor %}
{%- if more_alerts > 0 %}
<p class="quiet">and {{ more_alerts }} more: <code>keepwell alerts</code> lists them</p>
{%- endif %}
</section>
{%- endif %}
{%- if !holds.is_empty() %}
<section>
<h2>On hold</h2>
<ul class="holds">
{%- for hold in holds %}
<li><span class="id">{{ hold.what }}</span> is not restarted until {{ hold.until }}<small>{{ hold.actor }}{% if !hold.why.is_empty() %}: {{ hold.why }}{% endif %}</small></li>
{%- endfor %}
</ul>
</section>
{%- endif %}
{%- if !containers.is_empty() %}
<section>
<details{% if containers.len() <= 25 %} open{% endif %}>
<summary><h2>Containers ({{ containers.len() }})</h2></summary>
<table class="wide">
<thead><tr><th>Container</th><th>State</th><th>Image</th><th>CPU</th><th>Memory</th><th>Restarts</th><th>Up</th></tr></thead>
<tbody>
{%- for one in containers %}
<tr class="{{ one.severity }}">
<td class="id">{{ one.name }}{% if !one.compose.is_empty() %}<small>{{ one.compose }}</small>{% endif %}</td>
<td><span class="tag">{{ one.state }}</span></td>
<td class="id">{{ one.image }}</td>
<td>{{ one.cpu }}</td>
<td>{{ one.memory }}</td>
<td>{{ one.restarts }}</td>
<td class="since" title="since {{ one.since }}">{{ one.up }}</td>
</tr>
{%- endfor %}
</tbody>
</table>
</details>
</section>
{%- endif %}
{%- if !good.is_empty() %}
<section>
<details{% if good.len() <= 25 %} open{% endif %}>
<summary><h2>Healthy ({{ good.len() }})</h2></summary>
{% call checks(good) %}{% endcall %}
</details>
</section>
{%- endif %}
{%- if !recent.is_empty() %}
<section>
<details>
<summary><h2>Lately over ({{ recent.len() }})</h2></summary>
<ul class="acts">
{%- for alert in recent %}
<li><span class="id">{{ alert.what }}</span>: {{ alert.summary }}<small>ended {{ alert.ended }}, after {{ alert.lasted }} · {{ alert.telling }}</small></li>
{%- endfor %}
</ul>
</details>
</section>
{%- endif %}
<section>
<h2>Channels</h2>
{%- if channels.is_empty() %}
<p class="quiet">none is configured: nobody is told of what happens</p>
{%- else %}
<ul class="channels">
{%- for channel in channels %}
<li class="{{ channel.tone }}"><span class="tag">{{ channel.name }}</span> <span class="quiet">{{ channel.kind }}, {{ channel.state }}{% if !channel.trouble.is_empty() %}</span><small>{{ channel.trouble }}</small>{% else %}</span>{% endif %}</li>
{%- endfor %}
</ul>
{%- endif %}
</section>
{%- if !hooks.is_empty() %}
<section>
<h2>Hooks</h2>
<ul class="channels">
{%- for hook in hooks %}
<li class="{{ hook.tone }}"><span class="tag">{{ hook.name }}</span> <span class="quiet">{{ hook.kind }}, {{ hook.state }}{% if !hook.trouble.is_empty() %}</span><small>{{ hook.trouble }}</small>{% else %}</span>{% endif %}</li>
{%- endfor %}
</ul>
</section>
{%- endif %}
{%- if bad.is_empty() && good.is_empty() && containers.is_empty() %}
<section><p class="quiet">No checks yet.</p></section>
{%- endif %}
<section>
<details>
<summary><h2>How to use this</h2></summary>
<dl>
<dt><a href="health">/health</a></dt>
<dd>200 while the host is healthy or has warnings, 503 when something is critical; GET and HEAD.
For UptimeRobot and the like: a monitor of type HTTP(s) on this address, nothing else to set.
<pre>curl -si {{ url }}/health</pre></dd>
<dt><a href="health/detailed">/health/detailed</a></dt>
<dd>Every check with its reason and values, as JSON.</dd>
<dt><a href="metrics">/metrics</a></dt>
<dd>JSON; Prometheus text or OpenMetrics for a scraper, which asks for it by itself.
<pre>curl -s {{ url }}/metrics
curl -s '{{ url }}/metrics?format=prometheus'</pre></dd>
<dt><a href="livez">/livez</a>, <a href="readyz">/readyz</a></dt>
<dd>Whether keepwell runs, and whether it has seen everything once.</dd>
<dt>/api/v1/status, units, containers, alerts, explain, holds, silences, channels</dt>
<dd>With the API token, log text included.
<pre>curl -s -H 'Authorization: Bearer TOKEN' {{ url }}/api/v1/status</pre></dd>
<dt>On the host itself</dt>
<dd><pre>keepwell status --watch
keepwell explain CHECK
keepwell alerts
keepwell hold UNIT --for 1h</pre></dd>
</dl>
</details>
</section>
</main>
</body>
</html>
"##
)]
pub(super) struct Page<'a> {
    pub(super) host: String,
    pub(super) version: &'a str,
    pub(super) url: &'a str,
    pub(super) status: &'a str,
    pub(super) headline: String,
    pub(super) at: String,
    pub(super) up: String,
    pub(super) labels: Vec<String>,
    pub(super) counts: Counts,
    pub(super) bad: Vec<Row>,
    pub(super) good: Vec<Row>,
    pub(super) alerts: Vec<Alert>,
    pub(super) more_alerts: usize,
    pub(super) recent: Vec<Ended>,
    pub(super) holds: Vec<Held>,
    pub(super) quiet: String,
    pub(super) silences: Vec<Held>,
    pub(super) maintenance: Vec<String>,
    pub(super) containers: Vec<Container>,
    pub(super) channels: Vec<Channel>,
    pub(super) hooks: Vec<Channel>,
}
