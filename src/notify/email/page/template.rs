//! The template of a mail. It stands in a Rust file because askama looks for template files in the
//! crate's top folder only.

use crate::notify::story::Part;

#[derive(askama::Template)]
#[template(
    ext = "html",
    source = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{{ title }}</title>
<style>
@media (max-width: 560px) {
.wide { display: none !important }
}
@media (prefers-color-scheme: dark) {
.bg { background: #14161a !important }
.card { background: #1e2127 !important; border-color: #353b45 !important }
.ink { color: #e7e9ec !important }
.quiet { color: #a6adb8 !important }
.line { border-color: #353b45 !important }
.log { background: #111317 !important; color: #d3d8e0 !important }
}
</style>
</head>
<body class="bg" style="margin:0;padding:0;background:#f2f3f5">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" class="bg" style="background:#f2f3f5"><tr><td align="center" style="padding:16px 8px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" class="card" style="max-width:680px;background:#ffffff;border:1px solid #d9dce1;border-radius:6px;border-collapse:separate;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:14px;line-height:1.45">
<tr><td style="background:{{ colour }};color:{{ ink }};padding:14px 18px;border-radius:5px 5px 0 0;font-size:17px;font-weight:600;word-break:break-word">{{ title }}</td></tr>
{%- for remark in remarks %}
<tr><td class="ink" style="padding:12px 18px 0;color:#1c1e21">{{ remark }}</td></tr>
{%- endfor %}
{%- if !rows.is_empty() %}
<tr><td style="padding:12px 18px 4px">
<table width="100%" cellpadding="0" cellspacing="0" style="border-collapse:collapse;font-size:13px">
<tr>{% for head in columns %}<th align="left" class="quiet line{% if *head == "Why" %} wide{% endif %}" style="padding:4px 8px 4px 0;color:#5f6672;font-weight:600;border-bottom:1px solid #d9dce1">{{ head }}</th>{% endfor %}</tr>
{%- for row in rows %}
<tr valign="top">
<td class="line" style="padding:6px 8px 6px 0;border-bottom:1px solid #eceef1"><span style="display:inline-block;padding:1px 6px;border-radius:3px;background:{{ row.colour }};color:{{ row.ink }};font-size:11px;font-weight:700">{{ row.word }}</span></td>
<td class="ink line" style="padding:6px 8px 6px {% if row.beneath %}14px{% else %}0{% endif %};border-bottom:1px solid #eceef1;color:#1c1e21;word-break:break-word">{% if row.beneath %}↳ {% endif %}{{ row.what }}</td>
<td class="quiet line" style="padding:6px 8px 6px 0;border-bottom:1px solid #eceef1;color:#5f6672">{{ row.since }}</td>
{%- if columns.len() > 3 %}
<td class="quiet line wide" style="padding:6px 8px 6px 0;border-bottom:1px solid #eceef1;color:#5f6672">{{ row.why }}</td>
<td class="quiet line" style="padding:6px 0;border-bottom:1px solid #eceef1;color:#5f6672;word-break:break-word">{{ row.next }}</td>
{%- endif %}
</tr>
{%- endfor %}
</table>
{%- if more > 0 %}
<p class="quiet" style="margin:8px 0 0;color:#5f6672">and {{ more }} more; to see all: keepwell status</p>
{%- endif %}
</td></tr>
{%- endif %}
{%- for detail in details %}
<tr><td style="padding:14px 18px 2px">
{%- if detail.several %}
<div class="ink" style="border-left:4px solid {{ detail.colour }};padding-left:10px;color:#1c1e21;font-weight:600;word-break:break-word">{{ detail.part.heading }}</div>
{%- endif %}
<table width="100%" cellpadding="0" cellspacing="0" style="border-collapse:collapse">
{%- for fact in detail.part.facts %}
<tr valign="top"><td class="quiet" style="padding:3px 12px 3px 0;color:#5f6672;white-space:nowrap" width="1">{{ fact.label }}</td><td class="ink" style="padding:3px 0;color:#1c1e21;word-break:break-word">{{ fact.text }}</td></tr>
{%- endfor %}
</table>
{%- if !detail.part.lines.is_empty() %}
<div class="quiet" style="margin:8px 0 4px;color:#5f6672">Last log lines</div>
<pre class="log" style="margin:0;padding:10px 12px;background:#f6f7f9;color:#26292e;border-radius:4px;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;line-height:1.4;white-space:pre-wrap;word-break:break-word">{% for line in detail.part.lines %}{{ line }}
{% endfor %}</pre>
{%- endif %}
{%- if let Some(command) = detail.part.command %}
<div class="quiet" style="margin:8px 0 4px;color:#5f6672">To look</div>
<pre class="log" style="margin:0;padding:8px 12px;background:#f6f7f9;color:#26292e;border-radius:4px;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;white-space:pre-wrap;word-break:break-word">{{ command }}</pre>
{%- endif %}
</td></tr>
{%- endfor %}
{%- if !attached.is_empty() %}
<tr><td class="quiet" style="padding:10px 18px 0;color:#5f6672">Attached: {% for name in attached %}{% if !loop.first %}, {% endif %}{{ name }}{% endfor %}</td></tr>
{%- endif %}
<tr><td class="quiet" style="padding:14px 18px 16px;color:#5f6672;font-size:12px;word-break:break-word">{{ footer }}</td></tr>
</table>
</td></tr></table>
</body>
</html>
"##
)]
pub(super) struct Page<'a> {
    pub title: &'a str,
    pub colour: &'static str,
    pub ink: &'static str,
    pub remarks: &'a [String],
    pub columns: &'static [&'static str],
    /// The status table; empty when there is only one thing to tell of.
    pub rows: Vec<Row<'a>>,
    pub more: usize,
    pub details: Vec<Detail<'a>>,
    pub attached: Vec<&'a str>,
    pub footer: &'a str,
}

/// A line of the status table.
pub(super) struct Row<'a> {
    pub word: String,
    pub colour: &'static str,
    pub ink: &'static str,
    pub what: &'a str,
    pub beneath: bool,
    pub since: String,
    pub why: String,
    pub next: String,
}

/// All that is known of one thing.
pub(super) struct Detail<'a> {
    pub part: &'a Part,
    pub colour: &'static str,
    /// Others stand beside it, so it needs its heading.
    pub several: bool,
}
