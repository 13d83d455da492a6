// Keeps the lines on this pack's nodes, which the front end forgets when another tab or a subgraph is opened.
//
// A line is put with the outputs of its node, where the front end keeps the pictures of each tab. It is shown
// again by the front end's own event. No node is changed, and nothing is written into the workflow.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const KEY = "gsn_line";
const isOurs = node => Boolean(node?.comfyClass?.startsWith("GSN"));

// Under this name the front end keeps a node's outputs.
const place = node => (node.graph === app.rootGraph ? `${node.id}` : `${node.graph.id}:${node.id}`);

// The node that ComfyUI calls "7", or "5:7" inside of node 5.
function called(name) {
  let node, graph = app.rootGraph;
  for (const id of `${name}`.split(":")) {
    node = graph?.getNodeById(id);
    graph = node?.subgraph;
  }
  return node;
}

function keep({ nodeId, text, again }) {
  const node = again ? null : called(nodeId);
  if (isOurs(node)) (app.nodeOutputs[place(node)] ??= {})[KEY] = [text];
}

function showAgain() {
  for (const node of app.canvas?.graph?.nodes ?? []) {
    const [text] = app.nodeOutputs?.[place(node)]?.[KEY] ?? [];
    if (text && isOurs(node))
      api.dispatchCustomEvent("progress_text", { nodeId: `${node.id}`, text, again: true });
  }
}

app.registerExtension({
  name: "gsn.lines",
  setup() {
    api.addEventListener("progress_text", event => keep(event.detail));
    app.canvas.canvas.addEventListener("litegraph:set-graph", () => setTimeout(showAgain));
  },
  onNodeOutputsUpdated: () => setTimeout(showAgain),
});
