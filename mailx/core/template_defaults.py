"""The templates that mail is made of until an administrator writes others."""

from mailx.core.template_language import Template

_HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ subject }}</title>
</head>
<body style="margin:0;padding:0;background:#f3f4f6;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#f3f4f6;">
<tr><td align="center" style="padding:32px 16px;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:520px;background:#ffffff;border-radius:12px;">
<tr><td style="padding:32px;font-family:Arial,Helvetica,sans-serif;font-size:16px;line-height:1.5;color:#1f2937;">
{% if sender_name %}
<p style="margin:0 0 24px;font-weight:bold;color:#4b5563;">{{ sender_name }}</p>
{% endif %}
<h1 style="margin:0 0 16px;font-size:22px;line-height:1.3;color:#111827;">HEADING</h1>
<p style="margin:0 0 24px;">REQUEST</p>
{% if link %}
<p style="margin:0 0 24px;">
<a href="{{ link }}"
style="display:inline-block;padding:12px 24px;border-radius:8px;background:#1d4ed8;color:#ffffff;font-weight:bold;text-decoration:none;"
>BUTTON</a></p>
<p style="margin:0 0 24px;font-size:14px;color:#4b5563;">If the button does not work, open this address:<br>
<a href="{{ link }}" style="color:#1d4ed8;word-break:break-all;">{{ link }}</a></p>
{% endif %}
{% if token %}
<p style="margin:0 0 8px;">{% if link %}Or enter this code:{% else %}Enter this code:{% endif %}</p>
<p style="margin:0 0 24px;padding:12px 16px;border-radius:8px;background:#f3f4f6;color:#111827;
font-family:Consolas,Menlo,monospace;font-size:20px;word-break:break-all;">{{ token }}</p>
{% endif %}
{% if expires %}
<p style="margin:0 0 24px;font-size:14px;color:#4b5563;">It is valid until {{ expires }}.</p>
{% endif %}
<p style="margin:0;font-size:14px;color:#4b5563;">OTHERWISE</p>
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"""

_TEXT = """\
HEADING

REQUEST

{% if link %}
{{ link }}

{% endif %}
{% if token %}
{% if link %}Or enter this code:{% else %}Enter this code:{% endif %} {{ token }}

{% endif %}
{% if expires %}
It is valid until {{ expires }}.

{% endif %}
OTHERWISE
{% if sender_name %}

{{ "-- " }}
{{ sender_name }}
{% endif %}
"""

_WORDS = {
    "email_verification": {
        "HEADING": "Confirm your mail address",
        "REQUEST": "Please confirm that {{ to }} is your mail address.",
        "BUTTON": "Confirm address",
        "OTHERWISE": "If you did not ask for this, you need not do anything.",
    },
    "password_reset": {
        "HEADING": "Set a new password",
        "REQUEST": "Somebody asked for a new password for {{ to }}.",
        "BUTTON": "Set new password",
        "OTHERWISE": "If that was not you, you need not do anything: your password stays as it is.",
    },
}


def _filled(template: str, words: dict[str, str]) -> str:
    for word, text in words.items():
        template = template.replace(word, text)
    return template


DEFAULTS = {type: Template("{{ subject }}", _filled(_TEXT, words), _filled(_HTML, words)) for type, words in _WORDS.items()}
