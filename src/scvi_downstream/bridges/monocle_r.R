# Orders cells with R's own monocle (DDRTree). Arguments: a folder with counts.tsv (gene, cell, count; from 1),
# cells.txt, genes.txt, starts.txt (positions from 1) and seed.txt. Writes order.csv (cell, pseudotime, state) and
# versions.txt (software, version).
suppressMessages(suppressWarnings({
  library(Matrix)
  library(monocle)
}))
folder <- commandArgs(trailingOnly = TRUE)[1]
read_lines <- function(name) readLines(file.path(folder, name))
set.seed(as.integer(read_lines("seed.txt")))

# Releases up to 2.26 compare class(x) with one word, which R from 4.2 on refuses for matrices.
mend <- function(name) {
  original <- get(name, envir = asNamespace("monocle"))
  text <- gsub('class(projection) != "matrix"', "!is.matrix(projection)", deparse(original), fixed = TRUE)
  mended <- eval(parse(text = text))
  environment(mended) <- environment(original)
  assignInNamespace(name, mended, ns = "monocle")
}
mend("project2MST")

cells <- read_lines("cells.txt")
genes <- read_lines("genes.txt")
entries <- read.delim(file.path(folder, "counts.tsv"), header = FALSE)
counts <- sparseMatrix(
  i = entries[[1]], j = entries[[2]], x = as.numeric(entries[[3]]),
  dims = c(length(genes), length(cells)), dimnames = list(genes, cells)
)
described <- function(names) {
  table <- data.frame(row.names = names, gene_short_name = names)
  new("AnnotatedDataFrame", data = table)
}
cds <- newCellDataSet(
  counts, phenoData = described(cells), featureData = described(genes), expressionFamily = negbinomial.size()
)
cds <- suppressWarnings(estimateSizeFactors(cds))
cds <- setOrderingFilter(cds, genes)
cds <- suppressWarnings(reduceDimension(cds, max_components = 2, method = "DDRTree", norm_method = "log"))
cds <- suppressWarnings(orderCells(cds))
starts <- as.integer(read_lines("starts.txt"))
states <- pData(cds)$State
# Of the states, the one with the most start cells beyond its size.
excess <- table(states[starts]) - table(states) * length(starts) / length(cells)
root <- names(which.max(excess))
cds <- suppressWarnings(orderCells(cds, root_state = as.numeric(root)))
ordered <- data.frame(cell = cells, pseudotime = pData(cds)$Pseudotime, state = as.character(pData(cds)$State))
write.csv(ordered, file.path(folder, "order.csv"), row.names = FALSE)
versions <- c("R", as.character(getRversion()), "monocle", as.character(packageVersion("monocle")))
write(versions, file.path(folder, "versions.txt"), ncolumns = 2)
