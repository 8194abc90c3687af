#!/usr/bin/env bash
# Draws a plotly figure in the sandbox and prints the reply.
# usage: curl_request.sh [URL]   (http://127.0.0.1:6000/execute)
set -euo pipefail

url=${1:-http://127.0.0.1:6000/execute}

curl --silent --show-error --fail-with-body \
    -H 'Content-Type: application/json' \
    -d @- "$url" <<'JSON'
{
  "timeout": 60,
  "generated_code": "import plotly.graph_objects as go\n\nfigure = go.Figure(go.Scatter(x=[1, 2, 3, 4], y=[10, 11, 12, 13], mode='lines+markers'))\nfigure.update_layout(title='Line', xaxis_title='x', yaxis_title='y')\nfigure.write_html('line.html')\nprint('saved to: line.html')\nprint(len(figure.data), 'trace')\n"
}
JSON
echo
