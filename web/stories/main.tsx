import { createRoot } from "react-dom/client";
import { prefer } from "../src/app/preferences";
import "../src/ui/tokens.css";
import "../src/ui/base.css";
import { play } from "./steps";
import { STORIES } from "./stories";

/** `stories.html?story=<name>&theme=dark`; without a name, a list of them. Never part of the product. */
const query = new URLSearchParams(location.search);
const name = query.get("story") ?? "";
if (query.get("dir") === "rtl") document.documentElement.dir = "rtl";
const theme = query.get("theme") === "dark" ? "dark" : "light";
prefer({ theme, name: "Ada Lindqvist" });

const root = document.getElementById("root");
if (!root) throw new Error("stories.html has the element #root");
const story = STORIES[name];
createRoot(root).render(
  story ? (
    story()
  ) : (
    <ul>
      {Object.keys(STORIES).map((each) => (
        <li key={each}>
          <a href={`?story=${each}&theme=${theme}`}>{each}</a>
        </li>
      ))}
    </ul>
  ),
);

await play();
/** Tests wait for this mark. */
document.documentElement.dataset.story = "ready";
