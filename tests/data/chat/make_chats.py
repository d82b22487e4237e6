# /// script
# requires-python = ">=3.11"
# dependencies = ["jinja2==3.1.6", "transformers==5.23.0"]
# ///
"""Chats as transformers' own Jinja environment renders them. Writes chats.json beside itself: `uv run make_chats.py`."""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

TALK = [
    {"role": "system", "content": "  Be brief.\n"},
    {"role": "user", "content": " Grüße, \"世界\" 🙂\n\nand <b>more</b> & 'quotes' "},
    {"role": "assistant", "content": "Yes.\n"},
    {"role": "user", "content": "\tWhy?"},
]

# In the manner of published ones, or one feature each that published ones use.
TEMPLATES = {
    "chatml": """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "headers": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}{{- "Environment: ipython\n" }}{%- endif %}
{%- if date_string is not defined %}{% set date_string = "26 Jul 2024" %}{%- endif %}
{{- "Today Date: " + date_string + "\n\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}
""",
    "lines": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
""",
    "tojson": """{{ messages | tojson }}
{{ messages[0] | tojson(indent=2) }}
{{ {'a': [1, 2.5, true, none], 'b': {}, 'c': [], 'é': "\\"<&>'"} | tojson }}""",
    "methods": """{%- for m in messages -%}
{{ loop.index }}/{{ loop.length }} {{ m.role.upper() }} {{ m.role.title() }} {{ m.content.strip().split('\n')[0] }}|
{{- m.content.lstrip() }}|{{ m.content.rstrip('\n') }}|{{ m.content.replace('e', 'E') }}|{{ m.content.startswith('\t') }}|{{ m.get('name', 'nobody') }}
{% endfor -%}""",
    "namespace": """{%- set ns = namespace(users=0, last='') -%}
{%- for m in messages if m.role == 'user' -%}
{%- set ns.users = ns.users + 1 -%}{%- set ns.last = m.content[:5] -%}
{%- endfor -%}
{{ ns.users }} {{ ns.last }} {{ messages[::-1][0].content }} {{ messages[-1]['role'] }} {{ (messages | length) // 2 }} {{ 7 % 3 }}""",
    "controls": """{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- continue -%}{%- endif -%}
{{ m.role }};
{%- if m.role == 'assistant' -%}{%- break -%}{%- endif -%}
{%- endfor -%}
{{ loop is defined }} {{ messages | map(attribute='role') | join(',') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}""",
    "macros": """{%- macro turn(m, end='.') -%}<{{ m.role }}>{{ m.content | trim }}{{ end }}{%- endmacro -%}
{%- for m in messages -%}{{ turn(m) }}{{ turn(m, end='!') if loop.first }}{%- endfor -%}
{# a comment #}{{ messages[0].content is string }} {{ missing is defined }} {{ missing }} {{ 'user' in messages[1].role }} {{ 'x' ~ 1 ~ none }}""",
    "raises": """{{ 'before' }}{{ raise_exception('Only two roles are supported') }}""",
}


def main():
    chats = []
    for name, template in TEMPLATES.items():
        for add_generation_prompt in [False, True]:
            try:
                prompt = _compile_jinja_template(template).render(
                    messages=TALK, add_generation_prompt=add_generation_prompt, tools=None, documents=None,
                    bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>",
                )
                result = {"prompt": prompt}
            except Exception as error:
                result = {"error": str(error)}
            chats.append({"name": name, "template": template, "add_generation_prompt": add_generation_prompt, **result})
    path = Path(__file__).parent / "chats.json"
    path.write_text(json.dumps({"messages": TALK, "chats": chats}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
