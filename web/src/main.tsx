import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { Flow } from "./app/flow";
import { direction, language } from "./i18n";
import { realServices } from "./services/real";
import "./ui/tokens.css";
import "./ui/base.css";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has the element #root");
document.documentElement.lang = language();
document.documentElement.dir = direction();
const flow = new Flow(realServices);
flow.start();
createRoot(root).render(<App flow={flow} />);
